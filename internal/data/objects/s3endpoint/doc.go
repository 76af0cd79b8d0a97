// Package s3endpoint serves raw data of a bucket over the S3 protocol: what File, Dir and DataFrame values of the stock SDK
// are written to and read from. Package objects says why bare paths do not do.
//
// The gateway mounts an Endpoint on its loopback port; the launcher gives tasks its prefix and Environment. The protocol itself is
// gofakes3's; here are the gate before it (only what an S3 client for data needs passes: signed headers, whole payloads, no access
// lists, versions, forms or presigned URLs) and the backend behind it, which keeps to keys below Options.Prefixes.
//
// It must never be reachable without credentials, and never serve what lies beside its prefixes: inputs, outputs and code have other readers.
package s3endpoint
