//! The admin port: `/healthz`, `/readyz`, `/metrics`.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hearth_runtime::Readiness;
use hearth_telemetry::Registry;

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    registry: Registry,
}

/// The routes over a process's readiness and metrics.
pub fn router(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(Admin {
            readiness,
            registry,
        })
}

/// 200 when every service that counts is ready, else 503; a line for each service.
async fn ready(State(admin): State<Admin>) -> Response {
    let status = if admin.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut text = String::new();
    if admin.readiness.is_draining() {
        text.push_str("stopping\n");
    }
    for service in admin.readiness.snapshot() {
        let aside = match service.counts {
            true => "",
            false => " (goes on without)",
        };
        text.push_str(&format!("{}{aside}: {}\n", service.name, service.state));
    }
    (status, text).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let headers = [(header::CONTENT_TYPE, Registry::CONTENT_TYPE)];
    (headers, admin.registry.render()).into_response()
}
