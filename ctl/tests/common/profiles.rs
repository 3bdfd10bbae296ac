//! The profile service of the canned server.

use super::Fake;
use hearth_proto::northbound::v1 as nb;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl nb::profile_service_server::ProfileService for Fake {
    async fn list_profiles(
        &self,
        _: Request<nb::ListProfilesRequest>,
    ) -> Answer<nb::ListProfilesResponse> {
        Ok(Response::new(nb::ListProfilesResponse {
            profiles: self.state.lock().unwrap().profiles.clone(),
            next_page_token: String::new(),
        }))
    }

    async fn get_profile(
        &self,
        r: Request<nb::GetProfileRequest>,
    ) -> Answer<nb::GetProfileResponse> {
        let id = r.into_inner().id;
        let state = self.state.lock().unwrap();
        let found = state.profiles.iter().find(|profile| profile.id == id);
        let profile = found.cloned();
        let profile = profile.ok_or_else(|| Status::not_found("there is no quirk profile"))?;
        Ok(Response::new(nb::GetProfileResponse {
            profile: Some(profile),
        }))
    }

    async fn put_profile(
        &self,
        r: Request<nb::PutProfileRequest>,
    ) -> Answer<nb::PutProfileResponse> {
        let request = r.into_inner();
        let mut profile = request.profile.unwrap();
        if profile.id.is_empty() {
            return Err(Status::invalid_argument("profile.id: expected 1 to 64"));
        }
        profile.version = 4;
        if !request.check_only {
            self.with(|state| state.profiles.push(profile.clone()));
        }
        Ok(Response::new(nb::PutProfileResponse {
            profile: Some(profile),
            changed: true,
        }))
    }

    async fn delete_profile(
        &self,
        r: Request<nb::DeleteProfileRequest>,
    ) -> Answer<nb::DeleteProfileResponse> {
        self.with(|state| state.deleted.push(r.into_inner().id));
        Ok(Response::new(nb::DeleteProfileResponse { builtin: true }))
    }
}
