//! TLS, client certificates, proxies and redirects, over real sockets.

mod certificates;
mod haproxy;
mod listener;
mod openssl;
mod pki;
mod proxies;
mod redirects;
mod resumption;
