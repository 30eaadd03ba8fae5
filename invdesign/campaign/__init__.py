"""The funnel as a resumable run: config, stages, store, executor."""

from invdesign.campaign.components import Components
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import CampaignResult, design

__all__ = ["CampaignConfig", "CampaignResult", "Components", "design"]
