"""What people send to the API."""

from pydantic import BaseModel, ConfigDict, Field

from starter.asking import Wish


class EnvironmentRequest(BaseModel):
    """An environment to be made. What is left out is decided by the template and the settings."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"name": "demo", "template": "small"},
                {
                    "name": "checkout-pr-512",
                    "template": "medium",
                    "team": "payments",
                    "ttl": "1d 12h",
                    "collaborators": ["grace@example.com"],
                },
            ]
        },
    )

    name: str = Field(description="1 to 30 lower-case letters, digits and hyphens, beginning with a letter")
    template: str = Field(description="one of GET /templates")
    team: str | None = Field(default=None, description="one of your teams; without it, your first")
    ttl: str | None = Field(
        default=None, description='how long it shall live, such as "8h" or "1d 12h"; the template decides'
    )
    collaborators: list[str] = Field(
        default_factory=list, description="e-mail addresses of who else may use it"
    )
    host: str | None = Field(default=None, description="host cluster; without it, the installation's own")

    def wish(self) -> Wish:
        """The same, for the rules."""
        return Wish(
            name=self.name,
            template=self.template,
            team=self.team,
            ttl=self.ttl,
            collaborators=tuple(self.collaborators),
            host=self.host,
        )
