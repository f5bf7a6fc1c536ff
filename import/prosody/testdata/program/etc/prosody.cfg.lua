-- What configurations do that are written by programs or for containers.
local domain = ENV_DOMAIN or os.getenv("FALLBACK") or "nowhere.test"
admins = {}
for name in (ENV_ADMINS or ""):gmatch("[^,%s]+") do
	Lua.table.insert(Lua.assert(admins:value()), name .. "@" .. domain)
end
modules_enabled = { "roster" }
modules_enabled:append { "websocket" }
modules_enabled { "restrict_federation" }
custom_roles = RunScript "roles.lua"
admins:append(FileLines("more/admins.txt"))
local function rooms(host)
	Component("rooms." .. host) "muc" { name = "\x52ooms"; restrict_room_creation = true }
end
Include "conf.d/*.cfg.lua"
VirtualHost(domain) { default_user_role = FileLine "more/default.txt" }
rooms(domain)
c2s_ports = { 15222 } -- global again
VirtualHost "off.test"
	enabled = false
text = (("a,b,,c"):gsub("(%w)", "<%1>")) .. ("  x "):match("^%s*(.-)%s*$") .. Lua.string.format("%s%d", "n", 7)
if Lua.prosody.process_type == "prosody" and not Lua.prosody.config_loaded then
	Lua.require("socket").sleep(5)
end
