-- Prints what Prosody's own configuration manager reads of a configuration:
--     PROSODY=/usr/lib/prosody lua5.4 configmanager.lua FILE ROOT COPY
-- FILE is the configuration by its path on Prosody's machine, where COPY is ROOT.
local lib = os.getenv("PROSODY")
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
prosody = { paths = {}, platform = "posix" }
pcall(dofile, lib .. "/loader.lua")
local root, copy = arg[2]:gsub("/$", "") .. "/", arg[3] .. "/"
local function here(name)
	if name:sub(1, #root) == root then return copy .. name:sub(#root + 1) end
	return name
end
local lfs = require "lfs"
-- before the manager takes them
local open, dir, lines, load = io.open, lfs.dir, io.lines, dofile
function io.open(name, mode) return open(here(name), mode) end
function io.lines(name, ...) return lines(name and here(name), ...) end
function dofile(name) return load(here(name)) end
function lfs.dir(name) return dir(here(name)) end
print = function () end
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
		io.write(host .. " " .. option .. " = " .. show(config[host][option]) .. "\n")
	end
end
