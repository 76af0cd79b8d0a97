# /// script
# requires-python = ">=3.10"
# dependencies = ["six==1.17.0"]
# ///
