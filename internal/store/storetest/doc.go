// Package storetest is the suite that every store.DB passes. Tests of implementations call it; nothing else does.
package storetest
