// Package localca is a certificate authority in a folder, for tests of the link alone: nothing enrols, revokes or rotates here. The
// control plane's own is internal/control/identity. A key is written with mode 0600, is never logged, and never leaves its folder
// but as a file beside its certificate.
package localca
