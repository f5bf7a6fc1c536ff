add_permissions = { limited = { "xmpp:federate" } } -- global: each file begins there
