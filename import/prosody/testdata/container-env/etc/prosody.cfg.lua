local stringy = require "stringy"

admins = stringy.split(os.getenv("PROSODY_ADMINS"), ", ");
print(admins);

pidfile = "/var/run/prosody/prosody.pid"
use_libevent = true;
allow_registration = os.getenv("ALLOW_REGISTRATION");
c2s_require_encryption = os.getenv("C2S_REQUIRE_ENCRYPTION");
s2s_require_encryption = os.getenv("S2S_REQUIRE_ENCRYPTION");
s2s_secure_auth = os.getenv("S2S_SECURE_AUTH");
authentication = os.getenv("AUTHENTICATION") or "internal_hashed";
ldap_base = os.getenv("LDAP_BASE");
ldap_server = os.getenv("LDAP_SERVER") or "localhost";
ldap_rootdn = os.getenv("LDAP_ROOTDN") or "";
ldap_password = os.getenv("LDAP_PASSWORD") or "";
ldap_filter = os.getenv("LDAP_FILTER") or "(uid=$user)";
log = {
    {levels = {min = os.getenv("LOG_LEVEL")}, to = "console"};
};

Include "conf.d/*.cfg.lua";
