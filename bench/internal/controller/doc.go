// Package controller speaks to a data plane as the controller inside the SDK does (WIRE.md 2): Connect over HTTP/1.1 with gzip
// bodies, one WatchForUpdates stream for each parent action, one Enqueue for each child with its x-actions-* headers,
// a bounded number of workers, a bounded window of children under way.
//
// It is the driver of the benchmarks, which measure the plane rather than Python. Its parents are runs whose root sleeps:
// an action that runs and may have children, without a process. Nothing else may use it.
package controller
