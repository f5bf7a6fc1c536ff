local stringy = require "stringy"
local domain = os.getenv("DOMAIN")
local abuse = os.getenv("CONTACT_ABUSE") or "xmpp:abuse@" .. domain
contact_info = {
  abuse = stringy.split(abuse, ", ");
}
