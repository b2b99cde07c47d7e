"""Sign-in to the page with OpenID Connect, and the session that a sealed cookie keeps in the browser."""
