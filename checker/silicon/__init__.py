"""Does the CPU in front of us keep within the machine model? The steps that are checked, run on real memory."""
