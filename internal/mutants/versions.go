package mutants

// Next are the changes that make the programs of a later release out of the present ones.
// It has an event that the present release does not know, a newer version of ticks, one
// more field in the states of nodes, and a newer version of the messages of gateways.
// Tests upgrade a cluster to it, because the present release must bear its successor
// before the successor exists.
var Next = []Mutant{
	{
		Name: "a level above the present one", File: "events/cluster.go",
		Old: "const Level uint64 = 30\n", New: "const Level uint64 = 31\n",
	},
	{
		Name: "an event above the present level: the encoding", File: "events/gateways.go",
		Old: "encodeBody(out, 30, &e)", New: "encodeBody(out, 31, &e)",
	},
	{
		Name: "an event above the present level: the decoding", File: "events/wire.go",
		Old: "\tcase 30:\n", New: "\tcase 30, 31:\n",
	},
	{
		Name: "newer ticks: the encoding", File: "events/replica/tick.go",
		Old: "dst = append(dst, kindTick, tickVersion)", New: "dst = append(dst, kindTick, tickVersion+1, 0xee)",
	},
	{
		Name: "newer ticks: the decoding", File: "events/replica/tick.go",
		Old: "\tif version > tickVersion {\n",
		New: "\tif version == tickVersion+1 {\n\t\tr.byte()\n\t}\n\tif version > tickVersion+1 {\n",
	},
	{
		Name: "one more field in states", File: "events/replica/replica.go",
		Old: "r.cfg.Peers.Tell(appendState(nil, &s))", New: "r.cfg.Peers.Tell(append(appendState(nil, &s), \"one more field\"...))",
	},
	{
		Name: "a newer wire", File: "decision/wire.go",
		Old: "NewestWire = Wire2\n", New: "NewestWire = Wire2 + 1\n",
	},
	{
		Name: "a newer wire: the tags", File: "decision/wire.go",
		Old: "lastMessage = tagChallenge\n", New: "lastMessage = tagChallenge + 2\n",
	},
	{
		Name: "a newer wire: the batch", File: "decision/wire_message.go",
		Old: "\t\tt = tagBatch2\n\t}\n", New: "\t\tt = tagBatch2\n\t}\n\tif h.Wire > Wire2 {\n\t\tt = tagChallenge + 1\n\t}\n",
	},
	{
		Name: "a newer wire: the batch read", File: "decision/wire_message.go",
		Old: "\tcase t == tagBatch2:\n\t\tb.Wire = Wire2\n",
		New: "\tcase t == tagBatch2:\n\t\tb.Wire = Wire2\n\tcase t == tagChallenge+1:\n\t\tb.Wire = NewestWire\n",
	},
	{
		Name: "a newer wire: the reply", File: "decision/wire_message.go",
		Old: "\t\tt = tagReply2\n\t}\n", New: "\t\tt = tagReply2\n\t}\n\tif r.Wire > Wire2 {\n\t\tt = tagChallenge + 2\n\t}\n",
	},
	{
		Name: "a newer wire: the reply read", File: "decision/wire_message.go",
		Old: "\tcase tagReply2:\n\t\treply.Wire = Wire2\n",
		New: "\tcase tagReply2:\n\t\treply.Wire = Wire2\n\tcase tagChallenge + 2:\n\t\treply.Wire = NewestWire\n",
	},
}

// Before are the changes that make a gateway of the release before clusters: it asks
// without challenges.
var Before = []Mutant{
	{
		Name: "a gateway without challenges: its batches", File: "decision/wire.go",
		Old: "NewestWire = Wire2\n", New: "NewestWire = Wire1\n",
	},
	{
		Name: "a gateway without challenges: its notices", File: "decision/overnats/outbox.go",
		Old: "func (a *Asker) challenge(l *asking) {\n", New: "func (a *Asker) challenge(l *asking) {\n\tif a != nil {\n\t\treturn\n\t}\n",
	},
}
