// Package secrets keeps what must not be seen, and hands it to the attempts that ask for it.
//
// The gateway mounts Service, which takes values and never gives one back. Whoever starts attempts calls Vault.Deliver
// for the environment and the files of one attempt. Values lie in a Backend; OpenFile is one in an encrypted file, and
// secretstest is the suite that every backend passes.
//
// A value never goes into a log, an error, a response, an argument list or a row of the database.
package secrets
