"""The funnel as a resumable run: config, stages, store, executor."""

from invdesign.campaign.components import Parts
from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import CampaignResult, design

__all__ = ["CampaignConfig", "CampaignResult", "Parts", "design"]
