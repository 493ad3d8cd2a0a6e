"""Average precision of a detector, on WIDER FACE or on labeled images of your own."""
