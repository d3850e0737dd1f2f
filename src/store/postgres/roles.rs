//! Two roles without login stand behind the organisation filter of every query. `halo_sync_app` sees the rows
//! of the organisation that its transaction is bound to; `halo_sync_system` sees the tables that are
//! cross-organisation by nature. The connecting user (owner of the tables) runs migrations only: a superuser
//! or an owner would see through the policies, so start-up asserts who asks.

use sqlx::postgres::PgConnection;

use crate::store::{Result, StoreError};

/// Bound to an organisation inside its transaction.
pub(super) const APP: &str = "halo_sync_app";
/// Cross-organisation.
pub(super) const SYSTEM: &str = "halo_sync_system";

/// Makes the roles where they are absent, and the connecting user a member of both.
pub(super) async fn ensure(c: &mut PgConnection) -> Result<()> {
    let (user, superuser, create_role): (String, bool, bool) = sqlx::query_as(
        "SELECT rolname::text, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut *c)
    .await?;
    for role in [APP, SYSTEM] {
        let present: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)")
            .bind(role)
            .fetch_one(&mut *c)
            .await?;
        if !present {
            if !(superuser || create_role) {
                return Err(missing(
                    &user,
                    format!("the role {role} does not exist and {user} may not make it"),
                ));
            }
            // Roles belong to the server: a start on its other database may be making them as well.
            sqlx::raw_sql(match role {
                APP => {
                    "DO $$ BEGIN CREATE ROLE halo_sync_app NOLOGIN;
                     EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
                }
                _ => {
                    "DO $$ BEGIN CREATE ROLE halo_sync_system NOLOGIN;
                     EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
                }
            })
            .execute(&mut *c)
            .await?;
        }
        let member: bool = sqlx::query_scalar("SELECT pg_has_role(current_user, $1, 'MEMBER')")
            .bind(role)
            .fetch_one(&mut *c)
            .await?;
        if !member {
            let granted = sqlx::raw_sql(match role {
                APP => "GRANT halo_sync_app TO CURRENT_USER",
                _ => "GRANT halo_sync_system TO CURRENT_USER",
            })
            .execute(&mut *c)
            .await;
            if granted.is_err() {
                return Err(missing(&user, format!("{user} is not a member of {role}")));
            }
        }
    }
    Ok(())
}

fn missing(user: &str, what: String) -> StoreError {
    StoreError::Setup(format!(
        "{what}; run once as a superuser: CREATE ROLE {APP} NOLOGIN; CREATE ROLE {SYSTEM} NOLOGIN; \
         GRANT {APP}, {SYSTEM} TO \"{user}\";"
    ))
}

/// Puts a pool's connection into its role and asserts what durability and tenancy rest on.
pub(super) async fn enter(c: &mut PgConnection, role: &'static str, read_only: bool) -> Result<()> {
    sqlx::raw_sql(match role {
        // Compiling a plan costs more than any of our statements runs. Each of them finds its rows by an index; a
        // list of keys that are mostly new looks to the planner like half of the table.
        APP => "SET ROLE halo_sync_app; SET jit = off; SET enable_seqscan = off",
        _ => "SET ROLE halo_sync_system; SET jit = off; SET enable_seqscan = off",
    })
    .execute(&mut *c)
    .await
    .map_err(|e| StoreError::Setup(format!("cannot become {role}: {e}")))?;
    if read_only {
        sqlx::raw_sql("SET default_transaction_read_only = on").execute(&mut *c).await?;
    }
    let (current, superuser, bypass, commit): (String, bool, bool, String) = sqlx::query_as(
        "SELECT rolname::text, rolsuper, rolbypassrls, current_setting('synchronous_commit')
         FROM pg_roles WHERE rolname = current_user",
    )
    .fetch_one(&mut *c)
    .await?;
    if current != role {
        return Err(StoreError::Setup(format!("the connection's role is {current}, it must be {role}")));
    }
    if superuser || bypass {
        return Err(StoreError::Setup(format!("the role {role} sees through row-level security")));
    }
    // `remote_apply` promises more than `on`.
    if commit != "on" && commit != "remote_apply" {
        return Err(StoreError::Setup(format!("synchronous_commit is {commit}, it must be on")));
    }
    Ok(())
}

/// Asserts that every table of ours has row-level security forced, and a policy for the app role.
pub(super) async fn assert_tables(c: &mut PgConnection) -> Result<()> {
    let open: Vec<String> = sqlx::query_scalar(
        "SELECT t.relname::text FROM pg_class t
         WHERE t.relkind IN ('r', 'p') AND t.relnamespace = 'public'::regnamespace
           AND (t.relname = 'orgs' OR EXISTS (SELECT 1 FROM pg_attribute a
                WHERE a.attrelid = t.oid AND a.attname = 'org_id' AND NOT a.attisdropped))
           AND NOT (t.relrowsecurity AND t.relforcerowsecurity
                AND EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = 'org'))
         ORDER BY 1",
    )
    .fetch_all(c)
    .await?;
    if open.is_empty() {
        return Ok(());
    }
    Err(StoreError::Setup(format!("row-level security is not forced on {}", open.join(", "))))
}
