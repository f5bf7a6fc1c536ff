-- Prints what accounts may do on a Prosody 13 with a configuration and a data
-- directory, as its own role code says:
--     PROSODY=DIR lua5.4 authz.lua FILE ROOT COPY DATA
-- DIR holds core, util and plugins. Standard input has lines of a host and a
-- user. A line of output has both, the role, whether mod_restrict_xmpp is
-- loaded, and what the role gives with it, or "disabled". It holds for
-- whichever of the hosts is loaded first.
local lib, data = os.getenv("PROSODY"), arg[4]
package.path = lib .. "/?.lua;" .. package.path
package.cpath = lib .. "/?.so;" .. package.cpath
package.preload.stringy = function ()
	return { split = function (s, sep)
		local parts, from = {}, 1
		while true do
			local at, to = s:find(sep, from, true)
			parts[#parts + 1] = s:sub(from, (at or #s + 1) - 1)
			if not at then return parts end
			from = to + 1
		end
	end }
end
local events = require "util.events"
prosody = { paths = {}, platform = "posix", hosts = {}, events = events.new() }
hosts = prosody.hosts
dofile(lib .. "/loader.lua")

local root, copy = arg[2]:gsub("/$", "") .. "/", arg[3] .. "/"
local function here(name)
	if name:sub(1, #root) == root then return copy .. name:sub(#root + 1) end
	return name
end
local lfs = require "lfs"
local open, dir, lines, load, write = io.open, lfs.dir, io.lines, dofile, print
function io.open(name, mode) return open(here(name), mode) end
function io.lines(name, ...) return lines(name and here(name), ...) end
function dofile(name) return load(here(name)) end
function lfs.dir(name) return dir(here(name)) end
print = function () end

-- Storage: files, read as Prosody writes them; anything else cannot be read.
local function encode(s) return (s:gsub("%W", function (c) return ("%%%02x"):format(c:byte()) end)) end
local function files(host, store)
	return { get = function (_, user)
		local f = open(("%s/%s/%s/%s.dat"):format(data, encode(host), store, encode(user)))
		if not f then return nil end
		local text = f:read("a")
		f:close()
		local ok, chunk = pcall(_G.load, text, "=data", "t", {})
		if not ok or not chunk then return nil, "unreadable" end
		local done, value = pcall(chunk)
		if not done then return nil, "unreadable" end
		return value
	end }
end
package.preload["prosody.util.table"] = function () -- which is C, and may be of another version
	return { move = table.move, pack = table.pack, create = function () return {} end }
end
package.preload["prosody.util.datamanager"] = function () return {} end
package.preload["prosody.core.modulemanager"] = function ()
	return { load = function (host, name)
		local driver = name:match("^storage_(.*)$")
		if driver == "internal" or driver == "sql" or driver == "memory" or driver == "none" then
			hosts[host].events.fire_event("item-added/storage-provider", { item = { name = driver } })
			return true
		end
		return nil, "no such module"
	end }
end
local manager = require "prosody.core.configmanager"
local storage = require "prosody.core.storagemanager"
local set, array = require "prosody.util.set", require "prosody.util.array"
require "prosody.util.import"

local function store(host, name)
	local _, driver = storage.get_driver(host, name)
	if driver == "internal" then return files(host, name) end
	return { get = function () return nil, "stored by " .. tostring(driver) end }
end

-- The part of a module's interface that authorization uses.
local api = {}
api.__index = api
local function module(host) return setmetatable({ host = host }, api) end
function api:context(host) return module(host) end
function api:log() end
function api:open_store(name) return store(self.host, name) end
function api:get_option(name, default)
	local v = manager.get(self.host, name)
	if v == nil then v = default end
	return v
end
function api:get_option_string(name, default)
	local v = self:get_option(name, default)
	if type(v) == "table" then v = v[1] end
	return v ~= nil and tostring(v) or nil
end
function api:get_option_array(name, default)
	local v = self:get_option(name, default)
	return type(v) == "table" and array():append(v) or array { v }
end
function api:get_option_set(name, default)
	local v = self:get_option(name, default)
	return set.new(type(v) == "table" and v or { v })
end
function api:get_option_inherited_set(name, default)
	local all = self:context("*"):get_option_set(name, {})
	local own = manager.rawget(self.host, name)
	if own ~= nil then all = all + set.new(type(own) == "table" and own or { own }) end
	return all
end

local function loaded(host)
	local all = {}
	for _, section in ipairs { "*", host } do
		for _, m in ipairs(manager.rawget(section, "modules_enabled") or {}) do all[m] = true end
		for _, m in ipairs(manager.rawget(section, "modules_disabled") or {}) do all[m] = nil end
	end
	return all
end

-- What mod_restrict_xmpp gives by itself.
local given = {}
for _, what in ipairs { "messages", "contacts", "bookmarks", "profile", "omemo", "blocklist", "disco", "history", "pep" } do
	given[#given + 1] = "xmpp:account:" .. what .. ":read"
	given[#given + 1] = "xmpp:account:" .. what .. ":write"
end
given[#given + 1] = "xmpp:account:presence:write"
local asked = { "xmpp:federate", "xmpp:account:read", "xmpp:account:write", "xmpp:account:legacy-storage:read", "xmpp:account:legacy-storage:write" }
for _, p in ipairs(given) do asked[#asked + 1] = p end
table.sort(asked)

local wanted = {}
for line in lines() do
	local host, user = line:match("^(%S+)\t(.+)$")
	wanted[#wanted + 1] = { host = host, user = user }
end

-- answers loads the hosts in one order and asks of every account.
local function answers(before)
	assert(manager.load(arg[1], "lua"))
	local names = {}
	for host, options in pairs(manager.getconfig()) do
		if host ~= "*" then
			hosts[host] = { type = rawget(options, "component_module") and "component" or "local", events = events.new() }
			storage.initialize_host(host)
			names[#names + 1] = host
		end
	end
	table.sort(names, before)
	local authz = {}
	for _, host in ipairs(names) do
		local provider = manager.get(host, "authorization") or "internal"
		if hosts[host].type == "local" and provider == "internal" then
			local env = setmetatable({ module = module(host), hosts = hosts }, { __index = _G })
			local done, err = pcall(assert(loadfile(lib .. "/plugins/mod_authz_internal.lua", "t", env)))
			if not done then io.stderr:write(host, ": no roles: ", tostring(err), "\n") end
			if done then
				authz[host] = env
				local m = loaded(host)
				for _, p in ipairs(given) do env.add_default_permission("prosody:guest", p) end
				if m.restrict_xmpp or not m.restrict_federation and not m.isolate_host then
					env.add_default_permission("prosody:registered", "xmpp:federate")
				end
				if m.isolate_host then env.add_default_permission("prosody:admin", "xmpp:federate") end
			end
		end
	end
	local all = {}
	for i, a in ipairs(wanted) do
		local role = authz[a.host] and authz[a.host].get_user_role(a.user)
		local may = {}
		for _, p in ipairs(asked) do may[p] = role and role.may(role, p) end
		local account = (manager.get(a.host, "authentication") or "internal"):match("^internal") and store(a.host, "accounts"):get(a.user)
		if type(account) == "table" and account.disabled then may = nil end
		all[i] = { may = may, role = role and role.name or "none" }
	end
	return all
end

local one = answers(function (a, b) return a < b end)
local other = answers(function (a, b) return a > b end)
for i, a in ipairs(wanted) do
	local parts = {}
	for _, p in ipairs(asked) do
		if one[i].may and one[i].may[p] and other[i].may[p] then parts[#parts + 1] = p end
	end
	write(table.concat({ a.host, a.user, one[i].role, loaded(a.host).restrict_xmpp and "restricted" or "free",
		one[i].may and table.concat(parts, " ") or "disabled" }, "\t"))
end
