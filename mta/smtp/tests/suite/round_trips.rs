//! What is written can be read, whatever it is and however it is cut.
