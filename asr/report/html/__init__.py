"""The comparison as one HTML page with its charts inside, readable without a network."""
