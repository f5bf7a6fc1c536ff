local t = { }
t.a = 1
return t
