-- The data beside this was written by Prosody's own code (trunk of May 2025):
-- mod_authz_internal, the map shim of core/storagemanager, util.datamanager.
admins = { "plain@stored.test" }
custom_roles = {
	{ name = "kiosk", inherits = { "prosody:guest" } };
	{ name = "night shift", inherits = { "prosody:member" } };
	{ name = "bö\"ss\\", inherits = { "prosody:admin" } };
}
VirtualHost "stored.test"
