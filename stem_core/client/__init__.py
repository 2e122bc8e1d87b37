"""The application as its users see it: publishing, results, sessions."""
