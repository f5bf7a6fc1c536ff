// Package api is the client's side of a policy node's admin API. It has the types
// of requests and answers, the error codes, the form of a token, and an HTTP
// client. Package api/server is the node's side.
//
// Each resource has a path under /v1: tenants with their domains, services, roles
// and members, and the log. Changes are commands, sent to
// /v1/tenants/{tenant}/commands/{command} with the names that policyctl uses.
// Everything that belongs to a tenant is below the tenant's path, except the list
// of tenants. Requests below a tenant's path never show or change another tenant,
// so limiting a client to such a path limits it to the tenant.
//
// The package guarantees that every answer other than success has a code for
// programs and a text that is safe to show. The package has its own types for the
// wire and imports no other package of Postern, so a change of the log's types or
// of the View cannot change the API by accident.
package api
