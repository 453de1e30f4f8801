"""What each precision of a bundle reaches and costs, and the gate that refuses those which lose too much."""
