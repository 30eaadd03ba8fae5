"""The funnel as a resumable run: config, stages, store, executor."""

from invdesign.campaign.config import CampaignConfig
from invdesign.campaign.run import CampaignResult, design
from invdesign.campaign.stages import Parts

__all__ = ["CampaignConfig", "CampaignResult", "Parts", "design"]
