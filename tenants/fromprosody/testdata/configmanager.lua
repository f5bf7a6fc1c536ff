-- Prints what Prosody's own configuration manager reads of a configuration:
--     PROSODY=/usr/lib/prosody lua5.4 configmanager.lua prosody.cfg.lua
local lib = os.getenv("PROSODY")
package.path = lib .. "/?.lua;" .. package.path
package.cpath = lib .. "/?.so;" .. package.cpath
prosody = { paths = {}, platform = "posix" }
pcall(dofile, lib .. "/loader.lua")
local ok, manager = pcall(require, "prosody.core.configmanager")
if not ok then manager = require "core.configmanager" end
local ok, level, err = manager.load(arg[1], "lua")
if not ok then error(level .. ": " .. tostring(err)) end

local function sorted(t)
	local keys = {}
	for k in pairs(t) do keys[#keys + 1] = k end
	table.sort(keys, function (a, b) return tostring(a) < tostring(b) end)
	return keys
end
local function show(v)
	if type(v) == "table" then
		local parts = {}
		for i, k in ipairs(sorted(v)) do parts[i] = tostring(k) .. "=" .. show(v[k]) end
		return "{" .. table.concat(parts, " ") .. "}"
	elseif type(v) == "number" then
		return ("%.14g"):format(v)
	elseif type(v) == "string" then
		return "'" .. v .. "'"
	elseif type(v) == "function" then
		return "function"
	end
	return tostring(v)
end
local config = manager.getconfig()
for _, host in ipairs(sorted(config)) do
	for _, option in ipairs(sorted(config[host])) do
		print(host .. " " .. option .. " = " .. show(config[host][option]))
	end
end
