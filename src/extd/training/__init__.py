"""Training from scratch (section 4.1 and Appendix A of the paper)."""
