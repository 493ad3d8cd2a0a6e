"""How good a detector is: WIDER FACE average precision, its files and its test protocols."""
