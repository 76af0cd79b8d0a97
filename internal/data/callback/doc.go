// Package callback gives every condition an address that answers it: whoever has the address may POST the value, once.
//
// The address goes out in a condition's webhook, in place of "{callback_uri}", so it carries its own right: an HMAC over
// the condition's name. It ends with the condition. The plane mounts the handler and asks for addresses.
//
// It must never answer to GET: programs that look at links in messages would answer for people.
package callback
