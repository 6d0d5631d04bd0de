"""The proof book: one script for each theorem stated in flowsim.theory."""
