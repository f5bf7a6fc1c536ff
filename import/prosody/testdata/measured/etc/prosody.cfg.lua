-- The roles below were asked of a running Prosody: see TestMeasured.
custom_roles = {
	{ name = "staff", inherits = { "prosody:registered" }, allow = { "xmpp:account:pep:read" } };
	{ name = "kiosk", inherits = { "staff" }, deny = { "xmpp:account:messages:write", "xmpp:account:contacts:write" } };
	{ name = "both", allow = { "xmpp:federate" }, deny = { "xmpp:federate" } };
	{ name = "stars", allow = { "*", "xmpp:account:*", "muc:create-room", "xmpp:acount:read" } };
	{ name = "orphan", inherits = { "nobody" } };
	{ name = "later", inherits = { "last" } };
	{ name = "last" };
	{ name = "staff", deny = { "xmpp:federate" } };
	{ name = "two words", inherits = { "prosody:guest", "staff" } };
	{ name = "texts", inherits = { "prosody:guest" }, allow = "xmpp:federate" };
	{ name = "straw", inherits = "prosody:guest", allow = { "xmpp:federate" } };
	{ name = "table", permissions = { ["xmpp:federate"] = true, ["xmpp:account:pep:read"] = false } };
}
add_permissions = {
	["kiosk"] = { "xmpp:account:contacts:write", "xmpp:account:presence:write" };
	["prosody:guest"] = { "xmpp:federate" };
	["ghost"] = { "xmpp:federate" };
}
remove_permissions = {
	["kiosk"] = { "xmpp:account:presence:write" };
	["prosody:registered"] = { "xmpp:account:history:write", "xmpp:federate" };
}
VirtualHost "roles.test"
