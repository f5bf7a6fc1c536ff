modules_enabled = { "roster"; "saslauth"; "disco"; "pep"; "restrict_xmpp" }
custom_roles = {
	{ name = "reader"; inherits = { "prosody:guest" }; deny = { "xmpp:account:contacts:write" } };
	{ name = "kiosk"; allow = { "xmpp:account:messages:read", "xmpp:account:presence:write", "xmpp:account:bookmarks:read", "xmpp:account:disco:write" } };
}
VirtualHost "staff.example.org"
	modules_disabled = { "restrict_xmpp" }
VirtualHost "public.example.org"
	default_user_role = "reader"
Component "rooms.example.org" "muc"
