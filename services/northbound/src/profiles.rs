//! ProfileService: quirk profiles.

use crate::caller::Caller;
use crate::core::Core;
use crate::error::{Context, invalid, not_found};
use crate::page;
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::northbound::v1::{self as nb, profile_service_server::ProfileService};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Internal fields by their public names.
const FIELDS: &[(&str, &str)] = &[("tenant", "parent")];

/// The service.
pub(crate) struct Profiles(pub(crate) Arc<Core>);

/// What was learned about a model, in terms of the public contract.
pub(crate) fn learned(model: ds::Model) -> nb::LearnedModel {
    nb::LearnedModel {
        max_names_per_read: model.gpv_batch,
        refuses_empty_path: model.refuses_empty_path,
        missing_rpcs: model.unsupported_rpcs,
        rpcs: model.rpcs,
        boolean_form: model.boolean_form,
        no_fractional_seconds: model.no_fractional_seconds,
    }
}

#[tonic::async_trait]
impl ProfileService for Profiles {
    async fn list_profiles(
        &self,
        request: Request<nb::ListProfilesRequest>,
    ) -> Result<Response<nb::ListProfilesResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::ListProfilesRequest {
            tenant: tenant.to_string(),
            page_size: page::RESOURCES.size(request.page_size)?,
            page_token: page::token(request.page_token)?,
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.list_profiles(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::ListProfilesResponse {
            profiles: answer.profiles,
            next_page_token: answer.next_page_token,
        }))
    }

    async fn get_profile(
        &self,
        request: Request<nb::GetProfileRequest>,
    ) -> Result<Response<nb::GetProfileResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::GetProfileRequest {
            tenant: tenant.to_string(),
            id: request.id,
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.get_profile(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::GetProfileResponse {
            profile: answer.profile,
        }))
    }

    async fn put_profile(
        &self,
        request: Request<nb::PutProfileRequest>,
    ) -> Result<Response<nb::PutProfileResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let profile = request
            .profile
            .ok_or_else(|| invalid("profile", "is missing; expected the whole profile"))?;
        let internal = ds::PutProfileRequest {
            tenant: tenant.to_string(),
            profile: Some(profile),
            check_only: request.check_only,
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.put_profile(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        Ok(Response::new(nb::PutProfileResponse {
            profile: answer.profile,
            changed: answer.changed,
        }))
    }

    async fn delete_profile(
        &self,
        request: Request<nb::DeleteProfileRequest>,
    ) -> Result<Response<nb::DeleteProfileResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let tenant = caller.tenant("parent", &request.parent)?;
        let internal = ds::DeleteProfileRequest {
            tenant: tenant.to_string(),
            id: request.id.clone(),
        };
        let context = Context::default().fields(FIELDS);
        let answer = self.0.clients.device_state.delete_profile(internal).await;
        let answer = answer.map_err(|error| context.status(error))?;
        if !answer.existed {
            let message = match answer.builtin {
                true => {
                    "this profile comes with the server; put one of the same id without matches, \
                     and no device has it"
                }
                false => "no such quirk profile; ListProfiles shows them",
            };
            return Err(not_found("Profile", &request.id, message));
        }
        Ok(Response::new(nb::DeleteProfileResponse {
            builtin: answer.builtin,
        }))
    }
}
