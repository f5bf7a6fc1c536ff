// Package api is the admin API of a policy node as its clients see it: the
// types of requests and answers, the codes of errors, the form of a token, and
// a client over HTTP. Package server, below, answers it.
//
// What is read has an address of its own under /v1 (tenants, their domains,
// services, roles and members, the log); what changes something is a command,
// sent to /v1/tenants/{tenant}/commands/{command} and named as policyctl names
// it. Everything but a tenant list stands below its tenant's path, and nothing
// below a tenant's path shows or changes another tenant: whoever may be kept
// to a path may be kept to a tenant.
//
// It promises: an answer that is not a success carries a code a program may
// branch on and a text that is safe to show. The types on the wire are its own,
// so that neither the log's nor the View's can change them by accident; it
// imports nothing of Postern.
package api
