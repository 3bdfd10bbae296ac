//! Quirk profiles: what devices of some models need, as data. Those that come with the server, and
//! a tenant's own, one document each (`profile/{id}`). A tenant's own takes the place of a built-in
//! one of the same id. `profile-version/{id}` is the last version of one that was deleted.

mod builtin;
mod check;
mod choose;
mod version;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_clients::{Error, Kind, Result};
use hearth_proto::convert::{micros, timestamp};
use hearth_proto::devicestate::v1 as ds;
use hearth_proto::types::v1::{Profile, ProfileChoice};
use hearth_store::{DeviceColumn, Document, DocumentKind};
use hearth_types::{DeviceKey, TenantId, Timestamp};
use prost::Message;

use crate::columns::text;
use crate::core::Core;
use crate::memory::{About, Memory, REMEMBERED};
use crate::page;
use choose::{Profiles, Subject};

const KIND: DocumentKind = DocumentKind::Setting;
const PROFILES: &str = "profile/";
const VERSIONS: &str = "profile-version/";
/// Of a tenant's own.
const MAX_PROFILES: usize = 500;
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 100;
/// Tenants in memory.
const CACHED: usize = 10_000;

/// Profiles in memory.
pub struct ProfileCache {
    builtin: Vec<Profile>,
    tenants: Memory<TenantId, Arc<Profiles>>,
}

impl ProfileCache {
    pub fn new() -> Self {
        Self {
            builtin: builtin::all(),
            tenants: Memory::new(CACHED, REMEMBERED),
        }
    }
}

fn key(id: &str) -> String {
    format!("{PROFILES}{id}")
}

fn no_profile(id: &str) -> Error {
    Error::not_found(format!("there is no quirk profile {id:?}"))
}

impl Core {
    /// A tenant's profiles, made ready.
    async fn profiles(&self, tenant: &TenantId) -> Result<Arc<Profiles>> {
        let glance = self.glance(About::tenant(tenant));
        if let Some(found) = self.profiles.tenants.get(tenant, glance) {
            return Ok(found);
        }
        let all = self.all_profiles(tenant).await?;
        let ready = Arc::new(Profiles::new(all.into_values().collect()));
        let known = Arc::clone(&ready);
        self.profiles.tenants.keep(tenant.clone(), glance, known);
        Ok(ready)
    }

    /// All that hold for a tenant, by id.
    async fn all_profiles(&self, tenant: &TenantId) -> Result<BTreeMap<String, Profile>> {
        let own = self
            .store
            .documents(KIND, tenant, PROFILES, None, MAX_PROFILES);
        let own = own.await?;
        let own = own.iter().filter_map(|document| {
            let read = Profile::decode(document.payload.as_slice());
            if read.is_err() {
                // One that can't be read must not keep all devices out.
                tracing::error!(%tenant, key = document.key, "a stored profile can't be read");
            }
            read.ok()
        });
        let builtin = self.profiles.builtin.iter().cloned();
        let all = builtin.chain(own);
        Ok(all.map(|profile| (profile.id.clone(), profile)).collect())
    }

    async fn own_profile(&self, tenant: &TenantId, id: &str) -> Result<Option<Profile>> {
        let document = self.store.document(KIND, tenant, &key(id)).await?;
        let read = document.map(|found| Profile::decode(found.payload.as_slice()));
        read.transpose()
            .map_err(|_| Error::internal("the stored profile can't be read"))
    }

    fn builtin_profile(&self, id: &str) -> Option<&Profile> {
        self.profiles.builtin.iter().find(|one| one.id == id)
    }

    /// The profile of a device; what its Inform says is newer than what is kept of it.
    pub async fn profile_of(
        &self,
        device: &DeviceKey,
        manufacturer: &str,
        software_version: &str,
    ) -> Result<Option<ProfileChoice>> {
        let profiles = self.profiles(&device.tenant).await?;
        if profiles.is_empty() {
            return Ok(None);
        }
        let (oui, product_class, _) = device.device.parts();
        let mut subject = Subject {
            oui,
            manufacturer: manufacturer.to_owned(),
            product_class,
            software_version: software_version.to_owned(),
        };
        let lacks_version = subject.software_version.is_empty() && profiles.ask_for_software();
        if (subject.manufacturer.is_empty() || lacks_version)
            && let Some(row) = self.row(device).await?
        {
            for (known, column) in [
                (&mut subject.manufacturer, DeviceColumn::Manufacturer),
                (&mut subject.software_version, DeviceColumn::SoftwareVersion),
            ] {
                if known.is_empty() {
                    text(&row, column).clone_into(known);
                }
            }
        }
        Ok(profiles.choose(&subject))
    }

    pub async fn list_profiles(
        &self,
        request: ds::ListProfilesRequest,
    ) -> Result<ds::ListProfilesResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let query = page::query(("profiles", tenant.as_str()));
        let size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE);
        let after = page::read(&request.page_token, query)?.map(|token| token.after);
        let all = self.all_profiles(&tenant).await?;
        let mut rest = all
            .into_values()
            .filter(|profile| after.as_ref().is_none_or(|after| profile.id > *after));
        let profiles: Vec<_> = rest.by_ref().take(size).collect();
        let last = profiles.last().filter(|_| rest.next().is_some());
        let next_page_token = last.map_or(String::new(), |last| page::after(query, &last.id));
        Ok(ds::ListProfilesResponse {
            profiles,
            next_page_token,
        })
    }

    pub async fn get_profile(
        &self,
        request: ds::GetProfileRequest,
    ) -> Result<ds::GetProfileResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let own = self.own_profile(&tenant, &request.id).await?;
        let found = own.or_else(|| self.builtin_profile(&request.id).cloned());
        let profile = found.ok_or_else(|| no_profile(&request.id))?;
        Ok(ds::GetProfileResponse {
            profile: Some(profile),
        })
    }

    pub async fn put_profile(
        &self,
        request: ds::PutProfileRequest,
    ) -> Result<ds::PutProfileResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let profile = request
            .profile
            .ok_or_else(|| Error::invalid("profile", "must be set"))?;
        let mut profile = check::check(profile)?;
        let _edit = self.edit.lock().await;
        let present = self.own_profile(&tenant, &profile.id).await?;
        profile.builtin = false;
        if let Some(present) = &present {
            profile.version = present.version;
            profile.update_time = present.update_time;
            if profile == *present {
                return Ok(ds::PutProfileResponse {
                    profile: Some(profile),
                    changed: false,
                });
            }
        } else {
            let own = self
                .store
                .documents(KIND, &tenant, PROFILES, None, MAX_PROFILES);
            if own.await?.len() >= MAX_PROFILES {
                let message = "the tenant has 500 quirk profiles; delete one that is not needed";
                return Err(Error::new(Kind::FailedPrecondition, message));
            }
            profile.version = self.last_version(&tenant, &profile.id).await?;
        }
        profile.version += 1;
        // Later than the present one, whatever the clock of who wrote that.
        let before = present.and_then(|present| present.update_time);
        let before = Timestamp::from_micros(micros(before.as_ref()));
        let now = self
            .now()
            .max(before.saturating_add(Duration::from_micros(1)));
        profile.update_time = timestamp(now.as_micros());
        if !request.check_only {
            let document = Document {
                key: key(&profile.id),
                time: now,
                payload: profile.encode_to_vec(),
            };
            let _changing = self.changing(&[About::tenant(&tenant)]).await?;
            self.store.put_document(KIND, &tenant, document).await?;
        }
        Ok(ds::PutProfileResponse {
            profile: Some(profile),
            changed: true,
        })
    }

    pub async fn delete_profile(
        &self,
        request: ds::DeleteProfileRequest,
    ) -> Result<ds::DeleteProfileResponse> {
        let tenant: TenantId = request.tenant.parse()?;
        let builtin = self.builtin_profile(&request.id).is_some();
        let _edit = self.edit.lock().await;
        let Some(present) = self.own_profile(&tenant, &request.id).await? else {
            return Ok(ds::DeleteProfileResponse {
                existed: false,
                builtin,
            });
        };
        // First, so that a version never comes twice.
        let last = Document {
            key: format!("{VERSIONS}{}", present.id),
            time: self.now(),
            payload: present.version.to_be_bytes().to_vec(),
        };
        self.store.put_document(KIND, &tenant, last).await?;
        let key = key(&present.id);
        let _changing = self.changing(&[About::tenant(&tenant)]).await?;
        let existed = self.store.delete_document(KIND, &tenant, &key).await?;
        Ok(ds::DeleteProfileResponse { existed, builtin })
    }

    /// The last version of a profile that was deleted; that of a built-in one it replaces.
    async fn last_version(&self, tenant: &TenantId, id: &str) -> Result<u64> {
        let key = format!("{VERSIONS}{id}");
        let document = self.store.document(KIND, tenant, &key).await?;
        let kept = document.and_then(|found| found.payload.try_into().ok());
        let kept = kept.map_or(0, u64::from_be_bytes);
        let builtin = self.builtin_profile(id).map_or(0, |one| one.version);
        Ok(kept.max(builtin))
    }
}
