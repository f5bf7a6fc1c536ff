return { { name = "limited", inherits = { "prosody:guest" } } }
