"""What the course claims, and what the stored results say of it."""
