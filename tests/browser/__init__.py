"""A page in a real browser, with Sentry's real SDK, against a server of the test's own."""
