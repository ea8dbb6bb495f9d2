//! Renders a device's effective content from the layers in the store, and checks
//! it whole: profile, modules, params. Signs nothing, changes nothing.

use gnomon_cloud_core::approvals::Given;
use gnomon_cloud_core::compose::{self, Effective, Identity, StoredModule};
use gnomon_cloud_core::selector::groups_of;
use gnomon_cloud_core::{Group, Layer, Origin};
use gnomon_schemas::approval::Grant;
use gnomon_schemas::content::{self, budget_of};
use gnomon_schemas::document::{Document, FunctionPlan};
use gnomon_schemas::ids::{Digest, FunctionName, GroupId, Version};
use gnomon_schemas::profile::Profile;
use gnomon_schemas::reason::{Reason, Refusal};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::admission::Place;
use crate::app::App;
use crate::approvals::{Attached, Known};
use crate::store::devices::Device;
use crate::store::{StoreError, layers, modules, profiles};
use crate::trust::Trust;

/// Renders devices within one transaction; profiles and modules are read once.
pub struct Renderer<'a> {
    app: &'a App,
    trust: Arc<Trust>,
    db: &'a Connection,
    known: Known<'a>,
    groups: BTreeMap<GroupId, Group>,
    layers: BTreeMap<String, Layer>,
    profiles: BTreeMap<Digest, Rc<Profile>>,
    modules: BTreeMap<Digest, StoredModule>,
}

/// One device's content, checked.
pub struct Rendered {
    /// Content and origins.
    pub effective: Effective,
    /// For whom.
    pub identity: Identity,
    /// The digest of all but version, times and approvals.
    pub content_digest: Digest,
    /// What must be approved of it.
    pub grant: Grant,
    profile: Rc<Profile>,
}

impl<'a> Renderer<'a> {
    /// Reads groups and layers, under the trust root in force.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(app: &'a App, db: &'a Connection) -> Result<Renderer<'a>, StoreError> {
        Renderer::under(app, app.trust(), db)
    }

    /// As [`Renderer::new`], under a trust root that need not be in force yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn under(
        app: &'a App,
        trust: Arc<Trust>,
        db: &'a Connection,
    ) -> Result<Renderer<'a>, StoreError> {
        Ok(Renderer {
            app,
            known: Known::new(db, Arc::clone(&trust)),
            trust,
            db,
            groups: layers::groups(db)?,
            layers: layers::list(db)?,
            profiles: BTreeMap::new(),
            modules: BTreeMap::new(),
        })
    }

    /// The trust root that it renders under.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The transaction that it works in.
    pub fn db(&self) -> &'a Connection {
        self.db
    }

    /// The approvals that a rendered device's document goes out with; those that its
    /// last one had go before others.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attach(
        &mut self,
        rendered: &Rendered,
        before: &[Digest],
    ) -> Result<Attached, StoreError> {
        self.known.attach(&rendered.grant, &rendered.identity.device, before)
    }

    /// The layers of a device, lowest first.
    fn layers_of(&self, device: &Device) -> Vec<(Origin, &Layer)> {
        let groups = groups_of(&device.labels, &self.groups);
        let origins = std::iter::once(Origin::Fleet)
            .chain(groups.into_iter().map(|(name, _)| Origin::Group(name.clone())))
            .chain(std::iter::once(Origin::Device(device.device.clone())));
        origins
            .filter_map(|origin| Some((self.layers.get(&origin.to_string())?, origin)))
            .map(|(layer, origin)| (origin, layer))
            .collect()
    }

    /// The effective content of a device, not checked against its profile.
    ///
    /// # Errors
    /// When the layers together are not a content.
    pub fn effective(&self, device: &Device) -> Result<Effective, Refusal> {
        compose::effective(self.layers_of(device))
    }

    /// Renders a device and checks everything that the device itself will check.
    ///
    /// # Errors
    /// The first thing that does not fit, naming the place.
    pub fn render(&mut self, device: &Device) -> Result<Rendered, Refusal> {
        let effective = self.effective(device)?;
        let profile = self.profile(&device.profile)?;
        let identity = Identity {
            fleet: self.app.fleet.clone(),
            device: device.device.clone(),
            profile: device.profile.clone(),
            epoch: self.trust.root.epoch,
        };
        for digest in effective.content.modules() {
            if !self.modules.contains_key(digest)
                && let Some(module) = modules::stored(self.db, digest)?
            {
                self.modules.insert(digest.clone(), module);
            }
        }
        let content_digest = compose::content_digest(&effective.content, &identity, &self.modules);
        // The version does not matter to the checks; the real one comes when it is signed.
        let with = (&*profile, false);
        let (content, first) = (&effective.content, (Version::FIRST, 0));
        let document = compose::document(content, &identity, first, &self.modules, with)?;
        let grant = Grant::of(&document);
        let rendered = Rendered { effective, identity, content_digest, grant, profile };
        for (function, plan) in &rendered.effective.content.functions {
            self.check_slots(&rendered, function, plan)
                .map_err(|refusal| refusal.at(format!("functions.{function}")))?;
        }
        Ok(rendered)
    }

    /// The document of a rendered device, with its approvals.
    ///
    /// # Errors
    /// Those of [`compose::document`].
    pub fn document(
        &self,
        rendered: &Rendered,
        version_and_time: (Version, u64),
        inline: bool,
        approvals: &[Rc<Given>],
    ) -> Result<Document, Refusal> {
        let Rendered { effective, identity, profile, .. } = rendered;
        let (content, with) = (&effective.content, (&**profile, inline));
        let document = compose::document(content, identity, version_and_time, &self.modules, with)?;
        let approvals = approvals.iter().map(|given| given.envelope.clone()).collect();
        Ok(Document { approvals, ..document })
    }

    fn check_slots(
        &self,
        rendered: &Rendered,
        function: &FunctionName,
        plan: &FunctionPlan,
    ) -> Result<(), Refusal> {
        let role = content::function(&rendered.profile, function)?;
        let place = Place {
            profile_digest: &rendered.identity.profile,
            profile: &rendered.profile,
            function,
            budget: budget_of(plan, role)?,
        };
        let active = plan.active.iter().map(|slot| ("active".to_owned(), slot));
        let candidates = plan.candidates.iter().enumerate();
        let named = active.chain(candidates.map(|(i, slot)| (format!("candidates[{i}]"), slot)));
        for (name, slot) in named {
            let Some(module) = self.modules.get(&slot.module) else { continue };
            let (host, root) = (&self.app.host, &self.trust.root);
            let admitted = self.app.admissions.admit(host, root, (&slot.module, module), place);
            admitted
                .and_then(|admitted| Ok(admitted.check_params(&slot.params).map(drop)?))
                .map_err(|refusal| refusal.at(name))?;
        }
        Ok(())
    }

    fn profile(&mut self, digest: &Digest) -> Result<Rc<Profile>, Refusal> {
        if let Some(known) = self.profiles.get(digest) {
            return Ok(Rc::clone(known));
        }
        let stored = profiles::find(self.db, digest.as_str())?.ok_or_else(|| {
            Refusal::new(Reason::UnknownProfile, format!("no profile {digest} is registered"))
        })?;
        let profile = Rc::new(stored.profile);
        self.profiles.insert(digest.clone(), Rc::clone(&profile));
        Ok(profile)
    }
}
