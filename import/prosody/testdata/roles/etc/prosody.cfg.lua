-- Every rule about roles, in one configuration.
custom_roles = {
	{ name = "staff", inherits = { "prosody:registered" }, allow = { "xmpp:account:pep:read" } };
	{ name = "kiosk", inherits = { "staff" }, deny = { "xmpp:account:messages:write", "xmpp:account:contacts:write" } };
	{ name = "both", allow = { "xmpp:federate" }, deny = { "xmpp:federate" } };
	{ name = "stars", allow = { "*", "xmpp:account:*", "muc:create-room", "http_admin_api:access", "xmpp:acount:read" } };
	{ name = "orphan", inherits = { "nobody" } };
	{ name = "later", inherits = { "last" } };
	{ name = "last" };
	{ name = "staff", deny = { "xmpp:federate" } };
	{ name = "prosody:operator", allow = { "xmpp:federate" } };
	{ name = "prosody:trainee", inherits = { "prosody:guest" } };
	{ name = "two words", inherits = { "prosody:guest", "staff" } };
	{ inherits = { "prosody:guest" } };
	{ name = "texts", inherits = { "prosody:guest" }, allow = "xmpp:federate" };
}
add_permissions = {
	["kiosk"] = { "xmpp:account:contacts:write", "xmpp:account:presence:write" };
	["prosody:guest"] = { "xmpp:federate" };
	["ghost"] = { "xmpp:federate" };
}
remove_permissions = {
	["kiosk"] = { "xmpp:account:presence:write" };
	["prosody:registered"] = { "xmpp:account:history:write" };
}
default_user_role = "prosody:guest"
admins = { "boss@roles.test", "disabled@roles.test" }
VirtualHost "roles.test"
	admins = { "Chief@Roles.Test", "other@second.test", "not a jid@@" }
VirtualHost "second.test"
	default_user_role = "orphan"
