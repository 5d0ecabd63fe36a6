"""The steps of `modelport.deploy` that are not worth a room of their own."""
