VirtualHost "a.test"
	custom_roles = { { name = "staff" } }
VirtualHost "b.test"
	custom_roles = { { name = "staff", allow = { "xmpp:federate" } } }
Component "rooms.b.test" "muc"
