// Package secretstest is the suite that every secrets.Backend passes. Tests of backends call it; nothing else does.
package secretstest
