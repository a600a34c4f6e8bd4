"""look: the page while it is served: new operations as they are recorded, and what is true now."""
