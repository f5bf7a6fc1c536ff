modules_enabled = { "roster"; "saslauth"; "restrict_xmpp" }
admins = { "boss@odd.test/desk", "Upper@Odd.Test", "odd.test", "user@other.test", ["mapped@odd.test"] = true }
custom_roles = {
	{ name = "texts"; permissions = "xmpp:federate"; allow = { "xmpp:federate" } };
	{ name = "yes"; inherits = { "prosody:guest" }; allow = true };
	{ name = "number"; inherits = { "prosody:guest" }; deny = 7 };
	{ name = "no"; inherits = { "prosody:guest" }; allow = false; deny = false };
	{ name = "word"; inherits = { "prosody:guest" }; deny = "xmpp:account:pep:read" };
	{ name = "mapped"; allow = { ["xmpp:federate"] = true } };
	{ name = "hole"; allow = { "xmpp:account:pep:read", nil, "xmpp:federate" } };
	{ name = "both"; allow = { "xmpp:federate" }; deny = { "xmpp:federate" } };
	{ name = "table"; permissions = { ["xmpp:federate"] = false; ["xmpp:account:pep:read"] = true }; allow = { "xmpp:federate" } };
	{ name = "denies"; deny = { "xmpp:account:pep:read", "xmpp:federate" } };
	{ name = "first"; inherits = { "denies", "prosody:registered" } };
	{ name = "second"; inherits = { "prosody:registered", "denies" } };
	{ name = "deep"; inherits = { "first" }; allow = { "xmpp:account:pep:read" } };
	{ name = "deeper"; inherits = { "deep", "prosody:operator" }; deny = { "xmpp:account:history:read" } };
	{ name = "high"; priority = 1000; inherits = { "prosody:guest" } };
	{ name = "default"; default = true; inherits = { "prosody:admin" } };
	{ name = "prosody:guest"; inherits = {}; allow = { "xmpp:federate" } };
	{ name = "self"; inherits = { "self", "prosody:admin" } };
	{ name = "added"; deny = { "xmpp:federate" } };
	{ name = "taken"; allow = { "xmpp:federate" } };
	{ name = "case:Guest"; inherits = { "Prosody:Guest" } };
	{ name = "xmpp:write"; allow = { "xmpp:account:disco:write", "xmpp:account:presence:read", "xmpp:account:carbons:read" } };
}
add_permissions = {
	added = { "xmpp:federate" };
	["prosody:guest"] = { "xmpp:account:write" };
	["prosody:member"] = { "xmpp:account:read" };
	taken = { "xmpp:account:pep:read" };
}
remove_permissions = {
	taken = { "xmpp:federate", "xmpp:account:pep:read" };
	["prosody:registered"] = { "xmpp:account:history:read" };
	["prosody:operator"] = { "xmpp:federate" };
	["prosody:guest"] = { "xmpp:account:legacy-storage:read" };
}
VirtualHost "odd.test"
	default_user_role = { "first", "second" }
	admins = { "Host@odd.test" }
