package jid

// Part names the part of an address that an Error is about.
type Part string

// The parts of an address.
const (
	Whole        Part = "address"
	Localpart    Part = "localpart"
	Domainpart   Part = "domainpart"
	Resourcepart Part = "resourcepart"
)

// Error reports which part of an address was refused and why. Its text contains
// nothing of the address, so it may be logged and sent to a peer.
type Error struct {
	Part   Part
	Reason string
}

// A reason completes a sentence that begins with the part: "jid: localpart is
// empty".
const (
	reasonUTF8       = "is not UTF-8"
	reasonEmpty      = "is empty"
	reasonNothing    = "is read as empty by servers"
	reasonMissing    = "is missing"
	reasonUnwanted   = "is not allowed here"
	reasonLong       = "is longer than 1023 bytes"
	reasonUnprepared = "is not in its prepared form"
	reasonForbidden  = "has a character that is not allowed there"
	reasonUnassigned = "has a character that older servers do not know"
	reasonDiffers    = "is read differently by different servers"
	reasonLabel      = "has an empty label or one longer than 63 bytes"
	reasonLiteral    = "is an IP literal that is malformed or not in its shortest form"
)

func (e *Error) Error() string { return "jid: " + string(e.Part) + " " + e.Reason }
