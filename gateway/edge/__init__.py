"""What comes in at the door: connections, what stands in heads, who starts and ends the process."""
