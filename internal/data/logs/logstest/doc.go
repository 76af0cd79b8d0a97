// Package logstest is the suite that every logs.Store passes. Tests of implementations call it; nothing else does.
package logstest
