-- Opens a Prosody port whose connections must begin with a PROXY protocol header,
-- version 2 over IPv4, for the end-to-end tests. It closes a connection that
-- begins otherwise, and logs the client's address of each session.
module:set_global();

local portmanager = require "core.portmanager";

local signature = "\r\n\r\n\0\r\nQUIT\n";
local proxy_tcp4 = "\x21\x11\0\12"; -- version 2, PROXY; TCP over IPv4; 12 bytes follow
local whole = #signature + 16;

local waiting = {};
local listener = {};

function listener.onconnect(conn)
	waiting[conn] = "";
end

function listener.onincoming(conn, data)
	local got = (waiting[conn] or "") .. (data or "");
	waiting[conn] = got;
	local start = signature .. proxy_tcp4;
	if got:sub(1, #start) ~= start:sub(1, #got) then
		module:log("warn", "no PROXY header from %s", conn:ip());
		conn:close();
		return;
	end
	if #got < whole then
		return;
	end
	local a, b, c, d, _, _, _, _, high, low = got:byte(#start + 1, #start + 10);
	local address, port = ("%d.%d.%d.%d"):format(a, b, c, d), high * 256 + low;
	waiting[conn] = nil;
	conn.ip = function() return address; end
	conn.clientport = function() return port; end
	local c2s = portmanager.get_service("c2s").listener;
	conn:setlistener(c2s);
	c2s.onconnect(conn);
	if #got > whole then
		c2s.onincoming(conn, got:sub(whole + 1));
	end
end

function listener.ondisconnect(conn)
	waiting[conn] = nil;
end

function listener.ondetach(conn)
	waiting[conn] = nil;
end

module:provides("net", { name = "test_proxy", listener = listener });

function module.add_host(host)
	host:hook("resource-bind", function(event)
		local s = event.session;
		host:log("info", "session of %s@%s is from %s", s.username, s.host, s.ip);
	end);
end
