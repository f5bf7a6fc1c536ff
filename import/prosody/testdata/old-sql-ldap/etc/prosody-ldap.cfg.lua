ldap = {
    hostname = 'ldap',
    bind_dn = 'cn=admin,dc=example,dc=org',
    bind_password = 'not-a-secret',
    user = { usernamefield = 'uid', basedn = 'ou=users,dc=example,dc=org', filter = 'objectClass=posixAccount', namefield = 'cn' },
    admin = { basedn = 'ou=groups,dc=example,dc=org', namefield = 'memberUid', filter = 'cn=admins' },
}
